"""Locust: FastHttpUser, which is gevent and geventhttpclient. Run by Locust in its own environment."""

import os

from locust import FastHttpUser, constant, task


class Poster(FastHttpUser):
    wait_time = constant(0)
    body = bytes(int(os.environ["BODY_BYTES"]))

    @task
    def predict(self) -> None:
        self.client.post("/v1/predict", data=self.body, headers={"Content-Type": "application/octet-stream"})
