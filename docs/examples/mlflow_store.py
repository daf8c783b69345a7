"""Champions in MLflow's model registry: a record is a version of a model, the alias ``champion`` names the newest."""

from __future__ import annotations

import json

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from airflow_provider_finetune.models.history import Champion, History

ALIAS = "champion"
RECORD = "finetune_record"
AFTER = "finetune_after"  # the version that was the champion until then


class MLflowStore:
    """Keeps the champions of a name as versions of the registered model of that name.

    MLflow numbers the versions of a model one after the other. Of several that were made after the same champion, the
    one with the lowest number stands; the others are deleted by whoever made them. So no two runs both promote.
    """

    def __init__(self, uri: str | None = None) -> None:
        self.client = MlflowClient(registry_uri=uri)  # None: what MLFLOW_TRACKING_URI or MLFLOW_REGISTRY_URI says

    def names(self) -> list[str]:
        return [model.name for model in self._all(self.client.search_registered_models) if model.tags.get(RECORD)]

    def read(self, name: str) -> History:
        return History(name, tuple(_record(version) for version in self._standing(name)))

    def write(self, history: History) -> bool:
        new, *older = history.records
        standing = self._standing(history.name)
        if not standing or _record(standing[0]) != new:
            if [_record(version) for version in standing[:1]] != older[:1]:
                return False
            self._register(history.name)
            made = self.client.create_model_version(
                history.name,
                source=f"finetune://{new.conn_id}/{new.model}",
                tags={
                    RECORD: json.dumps(new.as_json()),
                    AFTER: standing[0].version if standing else "0",
                },
            )
            standing = self._standing(history.name)
            if made.version not in [version.version for version in standing]:
                self.client.delete_model_version(history.name, made.version)
                return False
        self.client.set_registered_model_alias(history.name, ALIAS, standing[0].version)
        return True

    def _standing(self, name: str) -> list:
        """Return the versions that stand, newest first."""
        found = self._all(self.client.search_model_versions, filter_string=f"name='{name}'")
        standing: list = []
        for version in sorted(found, key=lambda version: int(version.version)):
            if version.tags.get(AFTER) == (standing[-1].version if standing else "0"):
                standing.append(version)
        return standing[::-1]

    def _register(self, name: str) -> None:
        try:
            self.client.create_registered_model(name, tags={RECORD: "1"})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _all(self, search, **arguments) -> list:
        found, token = [], None
        while True:
            page = search(page_token=token, **arguments)
            found += page
            if not (token := page.token):
                return found


def _record(version) -> Champion:
    return Champion.from_json(json.loads(version.tags[RECORD]))
