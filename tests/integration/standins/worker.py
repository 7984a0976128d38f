"""An RQ worker on one queue, and beside it a grandchild in a session of its own, as a build would be."""

import os
import subprocess
import sys

import redis
import rq

subprocess.Popen(["sleep", "600"], start_new_session=True)
connection = redis.Redis.from_url(os.environ["REDIS_URL"])
rq.Worker([sys.argv[1]], connection=connection).work(logging_level="WARNING")
