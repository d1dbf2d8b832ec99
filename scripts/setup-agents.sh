#!/usr/bin/env bash
# Install the command lines of Codex and Claude Code for the nightly tests, unless they are there: into build/agents,
# 700 MB. If they cannot be had, the tests that need them are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=build/agents
packages=(@openai/codex@0.171.0 @anthropic-ai/claude-code@2.1.197)
if [ "$(cat "$folder/.complete" 2>/dev/null)" = "${packages[*]}" ]; then exit 0; fi
echo "setup: installing ${packages[*]} for the tests of agents"
mkdir -p "$folder"
install() {
    npm install --prefix "$folder" --no-save --no-audit --no-fund --ignore-scripts "${packages[@]}" &&
        node "$folder/node_modules/@anthropic-ai/claude-code/install.cjs"
}
if install >"$folder/log" 2>&1; then
    echo "${packages[*]}" >"$folder/.complete"
else
    cat "$folder/log"
    echo "setup: the tests of agents will be skipped" >&2
fi
