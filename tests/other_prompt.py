#!/usr/bin/python3
"""Runs tests of the prompt on the module of it with libedit, in a copy of the installation that MER_PREFIX names:

    other_prompt.py MODULE TEST.py [ARGUMENT...]
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

module, test, *words = sys.argv[1:]
with tempfile.TemporaryDirectory(prefix="mer-other-prompt-") as folder:
    prefix = Path(folder, "mer")
    shutil.copytree(os.environ["MER_PREFIX"], prefix, symlinks=True)
    shutil.copy(module, prefix / "lib/mer/prompt.so")
    sys.exit(subprocess.run(["/usr/bin/python3", test, *words], check=False,
                            env={**os.environ, "MER_PREFIX": str(prefix), "MER_PROMPT": "libedit"}).returncode)
