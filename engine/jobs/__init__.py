"""One job a request: the effects around the engine's pure parts. `run` is the only way in."""

from __future__ import annotations

from engine.adapter.combination import check_names, check_weights
from engine.adapter.formats import chosen_format
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import refuse_file, refuse_folder, refuse_nested, refuse_occupied
from engine.jobs.chained import (
    check_chain_choice,
    check_chain_export,
    check_depth,
    check_depth_oracle,
    check_depth_table,
)
from engine.jobs.compared import check_compared_chain, compared_set
from engine.jobs.context import check_context
from engine.jobs.opened import opened_adapter
from engine.jobs.refinable import check_refine
from engine.jobs.results import Result
from engine.jobs.sampling import TO_TRAIN, labelled_prompts
from engine.jobs.teachable import sheet_there
from engine.judge.arms import chosen_arms
from engine.prompts import read_prompts
from engine.requests import (
    ChainChoiceRequest,
    ChainExportRequest,
    CollectRequest,
    CombineRequest,
    CompareRequest,
    DepthOracleRequest,
    DepthRequest,
    DepthTableRequest,
    EvaluateRequest,
    ExportRequest,
    GenerateRequest,
    ImportRequest,
    InfoRequest,
    LeaveOneOutRequest,
    LoadRequest,
    ModelsRequest,
    PlanRequest,
    PreviewRequest,
    RefineRequest,
    Request,
    SheetRequest,
    TeachRequest,
    TrainingTimeRequest,
    TrainRequest,
)


def run(request: Request, reporter: Reporter) -> Result:
    """Do what is asked, reporting on the way.

    Raises:
        EngineError: it cannot be done; says what is wrong and what to do.
        Cancelled: the person asked for it to stop.
    """
    _refuse_early(request)
    # Imported here: each job brings in the heavy libraries that it needs and no others. It takes seconds: timed.
    match request:
        case ModelsRequest():
            with reporter.stage("import"):
                from engine.jobs.inspect import list_models_job
            return list_models_job(request, reporter)
        case InfoRequest():
            with reporter.stage("import"):
                from engine.jobs.inspect import info_job
            return info_job(request, reporter)
        case LoadRequest():
            with reporter.stage("import"):
                from engine.jobs.generate import load_job
            return load_job(request, reporter)
        case GenerateRequest():
            with reporter.stage("import"):
                from engine.jobs.generate import generate_job
            return generate_job(request, reporter)
        case RefineRequest():
            with reporter.stage("import"):
                from engine.jobs.refine import refine_job
            return refine_job(request, reporter)
        case ExportRequest():
            with reporter.stage("import"):
                from engine.jobs.export import export_job
            return export_job(request, reporter)
        case CombineRequest():
            with reporter.stage("import"):
                from engine.jobs.combine import combine_job
            return combine_job(request, reporter)
        case ImportRequest():
            with reporter.stage("import"):
                from engine.jobs.import_adapter import import_job
            return import_job(request, reporter)
        case CompareRequest():
            with reporter.stage("import"):
                from engine.jobs.answer import compare_job
            return compare_job(request, reporter)
        case EvaluateRequest():
            with reporter.stage("import"):
                from engine.jobs.evaluate import evaluate_job
            return evaluate_job(request, reporter)
        case LeaveOneOutRequest():
            from engine.jobs.leave_one_out import leave_one_out_job

            return leave_one_out_job(request, reporter)
        case CollectRequest():
            with reporter.stage("import"):
                from engine.jobs.forge import collect_job
            return collect_job(request, reporter)
        case TrainRequest():
            with reporter.stage("import"):
                from engine.jobs.forge import train_job
            return train_job(request, reporter)
        case DepthRequest():
            with reporter.stage("import"):
                from engine.jobs.depth import depth_job
            return depth_job(request, reporter)
        case DepthOracleRequest():
            with reporter.stage("import"):
                from engine.jobs.depth_oracle import depth_oracle_job
            return depth_oracle_job(request, reporter)
        case DepthTableRequest():
            with reporter.stage("import"):
                from engine.jobs.depth_table import depth_table_job
            return depth_table_job(request, reporter)
        case ChainChoiceRequest():
            with reporter.stage("import"):
                from engine.jobs.depth_predictor import choose_chain_job
            return choose_chain_job(request, reporter)
        case ChainExportRequest():
            with reporter.stage("import"):
                from engine.jobs.depth import export_chain_job
            return export_chain_job(request, reporter)
        case SheetRequest():
            from engine.jobs.sheet import sheet_job

            return sheet_job(request, reporter)
        case TeachRequest():
            with reporter.stage("import"):
                from engine.jobs.teach import teach_job
            return teach_job(request, reporter)
        case PreviewRequest():
            from engine.jobs.preview import preview_job

            return preview_job(request, reporter)
        case TrainingTimeRequest():
            with reporter.stage("import"):
                from engine.jobs.measure import training_time_job
            return training_time_job(request, reporter)
        case PlanRequest():
            from engine.jobs.plan import plan_job

            return plan_job(request, reporter)


def _refuse_early(request: Request) -> None:
    """Tell what is wrong with the files of a request before seconds of imports go by."""
    match request:
        case GenerateRequest():
            refuse_occupied(request.out, request.replace)
            chosen = request.prompts
            prompts = read_prompts(chosen.source, column=chosen.column, label=chosen.label)
            check_context(prompts, request.solve, request.models)
        case RefineRequest():
            check_refine(request)
        case SheetRequest():
            refuse_folder(request.out)
            refuse_occupied(request.out, request.replace)
        case TeachRequest():
            sheet_there(request)
            read_prompts(request.source, column=request.column, label=request.label)
        case CompareRequest():
            compared_set(request)
            check_compared_chain(request)
        case EvaluateRequest():
            refuse_file(request.out)
            chosen_arms(request.arms)
        case TrainingTimeRequest():
            labelled_prompts(request.source, request.column, TO_TRAIN)
        case DepthRequest():
            refuse_file(request.out)
            check_depth(request)
        case DepthOracleRequest():
            refuse_file(request.out)
            check_depth_oracle(request)
        case DepthTableRequest():
            refuse_file(request.out)
            check_depth_table(request)
        case ChainChoiceRequest():
            check_chain_choice(request)
        case ChainExportRequest():
            refuse_file(request.out)
            refuse_occupied(request.out, request.replace)
            check_chain_export(request)
        case ExportRequest():
            chosen_format(request.format, request.float_type)
            (refuse_folder if request.zip else refuse_file)(request.target)
            refuse_nested(request.adapter, request.target)
            refuse_occupied(request.target, request.replace)
        case CombineRequest():
            check_weights(len(request.adapters), request.factors, request.rank)
            check_names(len(request.adapters), request.names)
            refuse_file(request.out)
            for adapter in request.adapters:
                refuse_nested(adapter, request.out)
            refuse_occupied(request.out, request.replace)
        case ImportRequest():
            refuse_file(request.out)
            opened_adapter(request)
            if request.source.resolve() == request.out.resolve():
                raise EngineError("is what is imported", where=str(request.out), hint="Choose another --out")
            refuse_nested(request.source, request.out)
            refuse_occupied(request.out, request.replace)
        case TrainRequest() if (request.out / "generator.json").exists():
            raise EngineError("already holds a generator", where=str(request.out), hint="Choose another --out")
