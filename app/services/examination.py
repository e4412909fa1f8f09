"""`python -m app.services.examination ID`: examine a long version in a process of its own, whose memory ends with it."""

import sys

from app.services.health import examine_version

if __name__ == "__main__":
    examine_version(int(sys.argv[1]))
