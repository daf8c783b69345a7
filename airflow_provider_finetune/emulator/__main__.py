"""The command `finetune-emulator`: a local server of the OpenAI fine-tuning protocol."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING, get_args

from airflow_provider_finetune.emulator import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_finetune.emulator.server import Server

KEY_VARIABLE = "FINETUNE_EMULATOR_API_KEY"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the first line on stdout is the base URL.

    :return: the exit code.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    key = options.api_key or os.environ.get(KEY_VARIABLE)
    if not key:
        parser.error(f"give a key with --api-key or in {KEY_VARIABLE}; clients have to send the same")
    # Training takes small steps of many jobs: more threads inside one product would only get in the way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        asyncio.run(_serve(parser, options, key))
    except KeyboardInterrupt:
        pass
    except ModuleNotFoundError as e:
        parser.error(f"{e.name} is missing: install airflow-provider-finetune[emulator]")
    except OSError as e:
        parser.error(f"cannot listen on {options.host}:{options.port}: {e.strerror}")
    return 0


async def _serve(parser: argparse.ArgumentParser, options: argparse.Namespace, key: str) -> None:
    from airflow_provider_finetune.emulator.app import application
    from airflow_provider_finetune.emulator.errors import ApiError, parse
    from airflow_provider_finetune.emulator.faults import Fault
    from airflow_provider_finetune.emulator.model import base_models
    from airflow_provider_finetune.emulator.server import Server
    from airflow_provider_finetune.emulator.settings import Settings
    from airflow_provider_finetune.emulator.store import Store

    try:
        settings = parse(
            Settings,
            {
                "like": options.like,
                "job_seconds": options.job_seconds,
                "refuse_training": options.refuse_training,
                "list_lag_seconds": options.list_lag,
                "ignore_metadata_filter": options.ignore_metadata_filter,
                "drop_metadata": options.drop_metadata,
            },
        )
        faults = [Fault.from_spec(spec) for spec in options.fault]
        models = dict(model.partition("=")[::2] for model in options.model)
        served = base_models({name: date or None for name, date in models.items()})
    except (ApiError, ValueError) as e:
        parser.error(str(e))
    if not _is_loopback(options.host):
        print(
            f"finetune-emulator: {options.host} may be reached from other machines, and HTTP sends the key and the "
            "data as they are. Do that only in a network that you trust.",
            file=sys.stderr,
        )
    store = Store(settings, served)
    server = Server(application(store, key, faults), store, options.host, options.port)
    if options.stop_with_stdin:
        _stop_with_stdin(server)
    await server.run_here()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _stop_with_stdin(server: Server) -> None:
    """Stop when stdin, a pipe, ends: the process that started the emulator is gone then."""
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()

    def readable() -> None:
        if not os.read(stdin, 1024):
            loop.remove_reader(stdin)
            server.should_exit = True

    loop.add_reader(stdin, readable)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="finetune-emulator",
        description="A local server of the OpenAI fine-tuning protocol whose jobs really learn.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8765, help="port to listen on; 0 takes a free one (default: %(default)s)")
    add("--api-key", metavar="KEY", help=f"key that clients send; better in {KEY_VARIABLE}, as `ps` shows options")
    add(
        "--like",
        choices=get_args(Endpoint),
        default="openai",
        metavar="ENDPOINT",
        help=f"the endpoint to be like: {', '.join(get_args(Endpoint))} (default: %(default)s)",
    )
    add(
        "--job-seconds",
        type=float,
        default=20,
        metavar="S",
        help="seconds that a job takes; 0 is as fast as possible (default: %(default)s)",
    )
    add(
        "--model",
        action="append",
        default=[],
        metavar="NAME[=YYYY-MM-DD]",
        help="one more base model, or the shutdown date of one; repeatable",
    )
    add(
        "--fault",
        action="append",
        default=[],
        metavar="SPEC",
        help="what goes wrong: 'KIND [METHOD [PATH]] [key=value ...]', such as "
        "'lose_answer POST /fine_tuning/jobs times=2'; repeatable",
    )
    add("--refuse-training", action="store_true", help="answer every job creation with training_not_available")
    add("--list-lag", type=float, default=0, metavar="S", help="seconds until a created job shows in the list")
    add("--ignore-metadata-filter", action="store_true", help="list all jobs whatever metadata is asked for")
    add("--drop-metadata", action="store_true", help="forget the metadata of created jobs")
    add("--stop-with-stdin", action="store_true", help="stop when stdin ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
