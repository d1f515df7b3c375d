#!/bin/sh
# Type-checks the page's modules with TypeScript, which reads their JSDoc. Needs Node and, once, npm's registry; where
# either is missing it says so and lets the other checks go on.
set -eu
cd "$(dirname "$0")/../.."
tools=build/page-types
if ! command -v npm >/dev/null 2>&1; then
    echo "page types: not checked, Node is not here (https://nodejs.org)"
    exit 0
fi
if ! cmp -s tests/page/package.json "$tools/package.json" || [ ! -x "$tools/node_modules/.bin/tsc" ]; then
    mkdir -p "$tools"
    cp tests/page/package.json "$tools/"
    if ! npm install --prefix "$tools" --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error >&2; then
        rm -f "$tools/package.json"
        echo "page types: not checked, npm could not install TypeScript"
        exit 0
    fi
fi
"$tools/node_modules/.bin/tsc" -p tests/page/tsconfig.json
echo "page types: fine"
