#!/bin/sh
# .git/hooks/pre-commit of a repository with specs, executable; exq is on the PATH of whoever commits.
git diff --cached --quiet -- specs && exit 0
staged=$(mktemp -d) || exit 1
trap 'rm -rf "$staged"' EXIT
git ls-files -z -- specs | git checkout-index -z --stdin --prefix="$staged/" || exit 1
[ ! -d "$staged/specs" ] || (cd "$staged" && exq --specs specs validate)
