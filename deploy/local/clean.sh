#!/bin/sh
# Stops the stack and deletes what the other commands made: the environment, the stack's state, caches.
set -eu
unset CDPATH
cd "$(dirname "$0")/../.."
if [ -d .backlot ] && [ -x .venv/bin/python ]; then
    .venv/bin/python -m deploy.local down
fi
rm -rf .venv .backlot .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist ./*.egg-info
find . -name __pycache__ -type d -prune -exec rm -rf {} +
