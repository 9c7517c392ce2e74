"""What can be asked of the engine: one dataclass a job.

The app, the headless run and the tests build the same requests; `engine.jobs.run` answers them.
Paths are what the person named; None means "the default", resolved by the engine.
"""

from engine.requests.adapters import (
    EXAMPLES_ARM,
    NO_ADAPTER,
    CombineRequest,
    CompareRequest,
    ExportRequest,
    GenerateEachRequest,
    GenerateRequest,
    ImportRequest,
    InfoRequest,
    LoadRequest,
    ModelsRequest,
    PreviewRequest,
    RefineRequest,
    ServeModelRequest,
    SheetRequest,
    TeachRequest,
    average,
    export_target,
)
from engine.requests.chat import ChatRequest, Exchange
from engine.requests.choices import (
    DECODERS,
    LLAMA_CPP,
    TRANSFORMERS,
    ContextChoice,
    ModelChoice,
    PromptChoice,
)
from engine.requests.depth import (
    ChainChoiceRequest,
    ChainExportRequest,
    DepthOracleRequest,
    DepthRequest,
    DepthTableRequest,
)
from engine.requests.forge import (
    CollectRequest,
    EvaluateRequest,
    LeaveOneOutRequest,
    PlanRequest,
    TrainingTimeRequest,
    TrainRequest,
)

Request = (
    LoadRequest
    | GenerateRequest
    | GenerateEachRequest
    | RefineRequest
    | CompareRequest
    | ChatRequest
    | EvaluateRequest
    | LeaveOneOutRequest
    | ExportRequest
    | CombineRequest
    | ImportRequest
    | ServeModelRequest
    | ModelsRequest
    | InfoRequest
    | CollectRequest
    | TrainRequest
    | SheetRequest
    | TeachRequest
    | PreviewRequest
    | TrainingTimeRequest
    | PlanRequest
    | DepthRequest
    | DepthOracleRequest
    | DepthTableRequest
    | ChainChoiceRequest
    | ChainExportRequest
)

__all__ = [
    "DECODERS",
    "EXAMPLES_ARM",
    "LLAMA_CPP",
    "NO_ADAPTER",
    "TRANSFORMERS",
    "ChainChoiceRequest",
    "ChainExportRequest",
    "ChatRequest",
    "CollectRequest",
    "CombineRequest",
    "CompareRequest",
    "ContextChoice",
    "DepthOracleRequest",
    "DepthRequest",
    "DepthTableRequest",
    "EvaluateRequest",
    "Exchange",
    "ExportRequest",
    "GenerateEachRequest",
    "GenerateRequest",
    "ImportRequest",
    "InfoRequest",
    "LeaveOneOutRequest",
    "LoadRequest",
    "ModelChoice",
    "ModelsRequest",
    "PlanRequest",
    "PreviewRequest",
    "PromptChoice",
    "RefineRequest",
    "Request",
    "ServeModelRequest",
    "SheetRequest",
    "TeachRequest",
    "TrainRequest",
    "TrainingTimeRequest",
    "average",
    "export_target",
]
