"""Print the champion of a name: python champion.py support-bot. AIRFLOW_URL and AIRFLOW_TOKEN say which Airflow."""

import json
import os
import sys
import urllib.request


def champion(name: str) -> dict:
    """Return the record of the champion: "model", "conn_id", and the rest."""
    request = urllib.request.Request(
        f"{os.environ['AIRFLOW_URL']}/api/v2/variables/finetune_champion_{name}",
        headers={"Authorization": f"Bearer {os.environ['AIRFLOW_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        variable = json.load(response)
    return json.loads(variable["value"])["champion"]


if __name__ == "__main__":
    print(champion(sys.argv[1])["model"])
