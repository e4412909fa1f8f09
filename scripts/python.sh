#!/bin/sh
# Runs its arguments with the newest Python that is new enough, or says in a sentence that there is none.
for python in python3.13 python3.12 python3.11 python3; do
    if command -v "$python" >/dev/null 2>&1 && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" "$@"
    fi
done
echo "Fettle needs Python 3.11 or newer, and there is none on your PATH. Install one (python.org, your system's packages, pyenv), then try again." >&2
exit 1
