#!/bin/sh
# Rebuilds codemirror.js from the packages pinned in package-lock.json. Needs node and npm.
set -eu
cd "$(dirname "$0")"
npm ci --ignore-scripts --no-audit --no-fund
npx --no-install esbuild codemirror.entry.js --bundle --minify --format=esm --target=es2022 --legal-comments=none \
  --banner:js='/* CodeMirror 6, MIT licence, see codemirror.LICENSE. Built by build.sh. */' --outfile=codemirror.js
cp node_modules/@codemirror/view/LICENSE codemirror.LICENSE
rm -rf node_modules
