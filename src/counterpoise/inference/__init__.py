"""Rules of inference: how the fused and the unimodal heads become one prediction. No rule sees a target."""
