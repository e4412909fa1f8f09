#!/bin/sh
# Fetches the two browser libraries at exact versions into static/vendor/ and records what came: version, licence, sha256.
# The files are committed, nothing is fetched at run time; tests/house/test_vendor.py compares them with VENDOR.txt.
set -eu
cd "$(dirname "$0")/.."

vendor() { # package version folder licence file...
    package=$1 version=$2 folder=static/vendor/$3-$2 licence=$4
    shift 4
    box=$(mktemp -d)
    tarball=$(cd "$box" && npm pack --silent "$package@$version")
    tar -xzf "$box/$tarball" -C "$box"
    rm -rf "$folder" && mkdir -p "$folder"
    for file in "$@"; do cp "$box/package/$file" "$folder/"; done
    chmod 644 "$folder"/*
    {
        printf 'package  %s\nversion  %s\nlicence  %s\n\n' "$package" "$version" "$licence"
        (cd "$folder" && for file in "$@"; do sha256sum "$(basename "$file")"; done)
    } > "$box/VENDOR.txt"
    mv "$box/VENDOR.txt" "$folder/VENDOR.txt"
    rm -rf "$box"
}

vendor htmx.org 4.0.1 htmx 0BSD dist/htmx.min.js dist/ext/hx-sse.min.js LICENSE
vendor uplot 1.6.32 uplot MIT dist/uPlot.iife.min.js dist/uPlot.min.css LICENSE
