"""Methods and measurements in training loops of other libraries; import the module of the library that you use.

`MethodSampler` and `MethodTraining` need torch only. They serve Fabric, Accelerate and loops of your own.
"""

from counterpoise.integrations._training import MethodSampler, MethodTraining

__all__ = ["MethodSampler", "MethodTraining"]
