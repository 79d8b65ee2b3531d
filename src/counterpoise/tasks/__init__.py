"""Tasks. Each defines a likelihood p(y | logits), from which losses, scores and information measures follow.

The built-in likelihoods are categorical (`MultiClass`), independent Bernoulli (`MultiLabel`) and Gaussian
(`Regression`). Models emit *natural outputs*, called logits throughout: unnormalised log-probabilities, log-odds or
means. Log-likelihoods are in nats.

All of them are generalised linear models with a canonical link. For a task of your own, subclass `Task`; methods,
decision rules, valuations, diagnosis and report then work with it, because no other code compares names of tasks.
"""

from counterpoise.tasks._multiclass import MultiClass
from counterpoise.tasks._multilabel import MultiLabel
from counterpoise.tasks._names import TASKS, make_task, task_type
from counterpoise.tasks._regression import Regression
from counterpoise.tasks._task import Task

__all__ = ["TASKS", "MultiClass", "MultiLabel", "Regression", "Task", "make_task", "task_type"]
