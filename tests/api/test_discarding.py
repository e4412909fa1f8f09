"""DELETE of models, comparisons, jobs and evaluations."""

from starlette.testclient import TestClient

from app.domain.access import Who
from app.services import experiments
from tests.rows import add_dataset, add_model, climb


def test_deleting_is_one_request(client: TestClient, person: Who) -> None:
    model, version = add_model(person), add_dataset(person)
    ladder = experiments.create(person, name="tickets", dataset=version.dataset_id, model=model, rungs=[{"technique": "lora"}])
    for _ in range(3):
        climb(20, queue="light")
        climb(29)
    [tuned] = [row for row in client.get("/api/v1/models").json()["items"] if row["kind"] == "tuned"]
    refused = client.delete(f"/api/v1/models/{tuned['slug']}")
    assert refused.status_code == 409 and refused.json()["error"]["code"] == "in_use"
    assert client.delete(f"/api/v1/experiments/{ladder}").status_code == 204 and client.get(f"/api/v1/experiments/{ladder}").status_code == 404
    assert client.delete(f"/api/v1/models/{tuned['slug']}").status_code == 204
    assert client.delete(f"/api/v1/jobs/{tuned['job_id']}").status_code == 204
    assert client.delete("/api/v1/evaluations/1").status_code == 404
