"""A client of a CUTMV server, over its HTTP API.

>>> with Client("https://cutmv.example.com", key="cutmv_…") as cutmv:
...     upload = cutmv.upload(Path("song.mp4"))
...     job = cutmv.cut(upload.id, ["0:10-0:25 Chorus"], aspects=["9:16"], gif=True)
...     for job in cutmv.watch(job.id):
...         print(job.state, job.percent)
...     cutmv.download(job, Path("results"))

`api` has the calls, `models` what they answer, `uploading` sends a file in parts. The package
imports nothing of CUTMV, and httpx alone.
"""

from cutmv.client.api import Client
from cutmv.client.models import ApiError, Delivery, Job, Output, Step, Upload, Webhook

__all__ = ["ApiError", "Client", "Delivery", "Job", "Output", "Step", "Upload", "Webhook"]
