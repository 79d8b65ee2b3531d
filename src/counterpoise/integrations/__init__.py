"""Methods and measurements in training loops of other libraries; import the module of the library that you use.

`MethodSampler` and `MethodTraining` need torch only. They are for Fabric, Accelerate and training loops of your own.
"""

from counterpoise.integrations._training import MethodSampler, MethodTraining

__all__ = ["MethodSampler", "MethodTraining"]
