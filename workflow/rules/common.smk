# The study, checked and resolved before any rule is read; what the other rule files call.
import gc
import os
import shlex
import sys
from pathlib import Path

from lookalike.core.errors import LookalikeError
from lookalike.data.settings import FILTERS
from lookalike.pipeline import study_lock
from lookalike.pipeline.dry_run import obstacles
from lookalike.pipeline.job_groups import INSIDE, SNAKEFILE, forget_broken
from lookalike.pipeline.resources import RUNS_AT_ONCE
from lookalike.pipeline.server import client
from lookalike.pipeline.stop_forwarding import forward_stop_signals
from lookalike.pipeline.study_file import (
    read_plan,
    read_written_plan,
    study_of,
)
from lookalike.pipeline.workflow import Workflow

IN_GROUP = INSIDE in os.environ
try:
    STUDY_FILE = study_of(
        workflow.config_settings.config, workflow.config_settings.configfiles
    )
    # A job reads what the main process resolved: each job of a cluster reads these files twice.
    PLAN = (read_plan if workflow.is_main_process else read_written_plan)(STUDY_FILE)
except LookalikeError as error:
    sys.exit(f"error: {error}")  # a WorkflowError would add the lines of this file
if workflow.is_main_process:
    if not IN_GROUP:
        study_lock.wrap_slurm_commands(Path(workflow.basedir) / "profiles/slurm/bin")
        if other := study_lock.lock_holder(PLAN):
            print(f"study {PLAN.name} is being run by {other}", file=sys.stderr)
        else:
            forget_broken(PLAN)
            if PLAN.folder.exists() and not PLAN.path.exists() and not workflow.dryrun:
                PLAN.write()  # where it was deleted; jobs that are due read it
        study_lock.clear_marks(PLAN.root)


def submits():
    """Whether this process gives jobs to a cluster; Snakemake chooses who runs them after it has read the rules."""
    executor = workflow.executor_plugin
    cluster = executor is not None and executor.common_settings.non_local_exec
    return cluster and workflow.is_main_process


STUDY = Workflow(PLAN, submits)
PLAN_PATH = shlex.quote(str(PLAN.path))  # in the commands of hooks
TRACKING = STUDY.outputs("init_tracking")["state"]
RUN = "{wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed}"
TRAINED = list(dict.fromkeys(run.model for run in PLAN.trained_runs()))
FROZEN = [model for model in PLAN.models if model not in TRAINED]


# SLURM tells only the first process of a job that it is to end, and that is Snakemake, which would wait.
if "SLURM_JOB_ID" in os.environ and (IN_GROUP or not workflow.is_main_process):
    forward_stop_signals()

# The commands of the environment that runs Snakemake, whether it is activated or not.
PREFIX = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
# A job costs milliseconds where a warm process has torch loaded. Not inside a SLURM job, whose end would end that
# process and every other job's work with it; a job group has an allocation for itself.
if os.environ.get("LOOKALIKE_SERVER") != "0" and (
    "SLURM_JOB_ID" not in os.environ or IN_GROUP
):
    try:
        client.socket_path()
        client_command = shlex.join([sys.executable, "-S", "-E", str(client.__file__)])
        PREFIX += f'lookalike() {{ {client_command} "$@"; }}; '
    except OSError as error:
        print(
            f"warning: {error}; without it each job starts by itself, which takes seconds",
            file=sys.stderr,
        )
# A job group starts a Snakemake of its own.
PREFIX += f"export {SNAKEFILE}={shlex.quote(str(workflow.main_snakefile))}; "
shell.prefix(PREFIX.replace("{", "{{").replace("}", "}}"))

# A study of thousands of jobs makes millions of objects that stay; looking for garbage among them took a fifth of the
# time that the plan took (benchmarks/large_study.py).
gc.freeze()
gc.set_threshold(50_000, 20, 50)


wildcard_constraints:
    **STUDY.wildcard_constraints(),


def stop_at_missing_data():
    """Stop before the first job where a person must fetch data or accept its terms."""
    only_the_plan = set(workflow.dag_settings.targets) == {"plan"}
    messages = [] if only_the_plan else obstacles(PLAN)
    if messages:
        sys.exit("\n".join(f"error: {message}" for message in messages))


def lock_study():
    """Be the one controller of the study; after a killed one, make the plan anew."""
    if IN_GROUP:
        return
    try:
        cancelled = study_lock.lock_study(PLAN, workflow.scheduler._executor)
    except LookalikeError as error:
        sys.exit(f"error: {error}")
    if waited := study_lock.share_data(workflow.dag.needrun_jobs()):
        print(f"{waited} is there now; starting over", file=sys.stderr, flush=True)
        study_lock.start_over()
    # Not before: jobs of another controller read them.
    PLAN.write()
    if cancelled:
        print(
            f"cancelled {cancelled} jobs of a controller that was killed; starting over",
            flush=True,
        )
        study_lock.start_over()
