"""Both models in one process. Runs in this folder's own environment and imports nothing of nightbench."""

import argparse
import sys
from pathlib import Path

import uvloop

sys.path.append(str(Path(__file__).parents[1] / "arena_common"))  # isolated mode leaves it out
from flow import Flow, in_thread
from front import arguments, serve
from stages import crop_side, load


async def main(args: argparse.Namespace) -> None:
    detect, classify = (
        in_thread(load(args.artifact, stage, args.threads, args.load_time)) for stage in ("detect", "classify")
    )
    await serve(Flow(detect, classify, crop_side(args.artifact), args.join_crops), args)


if __name__ == "__main__":
    uvloop.run(main(arguments(__doc__).parse_args()))
