// What Airflow's public REST API tells of a task instance, with the session of the person who looks: Airflow decides
// what they may see.

/** Airflow refused: 401 nobody is logged in, 403 not for this person. */
export class Refused extends Error {
  constructor(status) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

let headers = {}; // the session's cookie is enough, but on Airflow 3.1.0

async function get(url, signal) {
  const ask = () => fetch(url, { credentials: "same-origin", headers, signal });
  let answer = await ask();
  const token = localStorage.getItem("token"); // where the UI of 3.1.0 keeps it
  if (answer.status === 401 && token && !headers.Authorization) {
    headers = { Authorization: `Bearer ${token}` };
    answer = await ask();
  }
  if (answer.status === 404) return null;
  if (answer.status === 401 || answer.status === 403) throw new Refused(answer.status);
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return answer.json();
}

/** Reads one task instance and some of its XComs; asks again only for what has changed. */
export class Task {
  constructor({ dagId, runId, taskId, mapIndex = "-1", api = "v2" }, signal) {
    const names = ["dags", dagId, "dagRuns", runId, "taskInstances", taskId].map(encodeURIComponent);
    // These files lie beside Airflow's API, whatever path both are served under.
    this.api = new URL(`../api/${api}/`, import.meta.url);
    this.path = new URL(names.join("/"), this.api).href;
    this.mapIndex = mapIndex;
    this.native = api === "v1" ? "stringify=false" : "deserialize=true";
    this.signal = signal;
    this.instance = null;
    this.values = {};
    this.at = {}; // when each value was set
  }

  /** Look for news; return whether there are any. `wanted(instance)` says which XComs are of interest. */
  async look(wanted) {
    const before = this.instance;
    const mapped = this.mapIndex === "-1" ? "" : `/${encodeURIComponent(this.mapIndex)}`;
    this.instance = await get(this.path + mapped, this.signal);
    const keys = this.instance ? wanted(this.instance) : [];
    if (!keys.length) return this.forget([]) || changed(before, this.instance);
    const about = `map_index=${encodeURIComponent(this.mapIndex)}`;
    const list = await get(`${this.path}/xcomEntries?${about}&limit=100`, this.signal);
    const listed = (list?.xcom_entries ?? []).filter(({ key }) => keys.includes(key));
    const gone = this.forget(listed.map(({ key }) => key)); // Airflow clears them when a try begins
    const fresh = listed.filter(({ key, timestamp }) => this.at[key] !== timestamp);
    await Promise.all(fresh.map(async ({ key }) => {
      const entry = await get(`${this.path}/xcomEntries/${encodeURIComponent(key)}?${about}&${this.native}`, this.signal);
      if (!entry) return;
      this.values[key] = plain(entry.value);
      this.at[key] = entry.timestamp;
    }));
    return gone || fresh.length > 0 || changed(before, this.instance);
  }

  /** The version of Airflow. */
  async version() {
    return (await get(new URL("version", this.api).href, this.signal))?.version ?? "";
  }

  forget(listed) {
    const gone = Object.keys(this.at).filter((key) => !listed.includes(key));
    for (const key of gone) {
      delete this.at[key];
      delete this.values[key];
    }
    return gone.length > 0;
  }
}

const changed = (one, other) => one?.state !== other?.state || one?.try_number !== other?.try_number;

// Some versions answer with the JSON text of a value.
function plain(value) {
  if (typeof value !== "string" || !/^[[{"]/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
