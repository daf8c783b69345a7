// The tab "Training", which Airflow's UI imports (react_apps, Airflow 3.1 and later). React is the UI's own.
import { mount } from "./mount.js";

const { createElement, useEffect, useRef } = globalThis.React;

function Training({ dagId, runId, taskId, mapIndex }) {
  const place = useRef(null);
  useEffect(
    () => mount(place.current, { dagId, runId, taskId, mapIndex: mapIndex ?? "-1" }),
    [dagId, runId, taskId, mapIndex],
  );
  return createElement("div", { ref: place, style: { height: "100%", overflow: "auto" } });
}

// Airflow looks for globalThis[<the app's name>]; until 3.3 what it finds under AirflowPlugin may be another plugin's.
globalThis["Training"] = Training;
globalThis.AirflowPlugin = Training;
