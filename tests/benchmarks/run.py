"""Speed and memory as ratios, each measured in one run against a named alternative.

make bench                                         all of them
.venv/bin/python tests/benchmarks/run.py memory    one of them
"""

import sys

import bench_gradcam
import cached
import chapter
import dry_run
import own_page
import stages

BENCHMARKS = {
    "training": cached.training_ratio,
    "extraction": cached.extraction_ratio,
    "memory": cached.memory_ratio,
    "loop": cached.loop_ratio,
    "unet": stages.unet_ratio,
    "stages": stages.profile_stages,
    "report": dry_run.print_sum,
    "gradcam": bench_gradcam.main,
    "page": own_page.main,
    "chapter": chapter.chapter_stages,  # half an hour
}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        BENCHMARKS[name]()
