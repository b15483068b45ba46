"""The inference service's interface, loaded from its IDL; shared by the service and its client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import thriftpy2

IMAGES_PER_CALL = 64
BYTES_PER_CALL = 60 * 2**20  # of images; with the rest of a call below RpcLimits.max_frame_bytes

_loaded: Any = thriftpy2.load(
    str(Path(__file__).with_name("inference.thrift")), module_name="lambda_inference_thrift"
)
Inference: Any = _loaded.Inference
Answer: Any = _loaded.Answer
Signal: Any = _loaded.Signal
Description: Any = _loaded.Description
