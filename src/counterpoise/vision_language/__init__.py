"""Vision-language models: whether the answers depend on the image, and the information of each tower of CLIP."""

from counterpoise.vision_language._diagnose import diagnose_vlm
from counterpoise.vision_language._result import VLMDiagnosis
from counterpoise.vision_language._retrieval import RetrievalDiagnosis, diagnose_retrieval

__all__ = ["RetrievalDiagnosis", "VLMDiagnosis", "diagnose_retrieval", "diagnose_vlm"]
