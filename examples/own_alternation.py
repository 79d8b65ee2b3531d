"""A method of your own that takes several optimizer steps per batch, one per modality."""

from counterpoise.methods import Alternation
from counterpoise.methods.base import backward, unimodal_losses
from counterpoise.methods.checks import check_method
from counterpoise.records import StepRecord


class Turns(Alternation):
    """The encoders are trained in turn; the fused head learns in every step."""

    def steps(self, model, batch, *, backward=backward):
        """Yield once per modality."""
        for turn in model.modalities:
            encoded = model.encode(batch.inputs, batch.present)
            features = {m: h if m == turn else h.detach() for m, h in encoded.items()}
            outputs = model.decode(features, present=batch.present)
            fused = model.task.loss(outputs.logits, batch.target)
            own = unimodal_losses(model, outputs, batch.target)[turn]
            backward(fused + own)  # never `loss.backward()`: the loop may scale the loss
            yield StepRecord((fused + own).detach(), {"fused": fused.detach(), turn: own.detach()})


if __name__ == "__main__":
    for result in check_method("__main__:Turns"):
        print(f"{result.status:8} {result.name}  {result.message}")
