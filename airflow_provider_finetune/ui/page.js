// The page of its own, behind the button "Training": ?dag=…&run=…&task=…&map=…, and &api=v1 on Airflow 2.
import { mount } from "./mount.js";

// Airflow's UI keeps the theme in localStorage, which this page shares with it.
const system = matchMedia("(prefers-color-scheme: dark)");
function follow() {
  const chosen = localStorage.getItem("theme");
  const dark = chosen === "dark" || (chosen !== "light" && system.matches);
  document.documentElement.classList.toggle("dark", dark);
}
follow();
addEventListener("storage", follow);
system.addEventListener("change", follow);

const given = new URLSearchParams(location.search);
const title = `${given.get("task") ?? "Training"} - ${given.get("dag") ?? "Airflow"}`;
document.title = title;
document.getElementById("title").textContent = title;
mount(document.getElementById("place"), {
  dagId: given.get("dag") ?? "",
  runId: given.get("run") ?? "",
  taskId: given.get("task") ?? "",
  mapIndex: given.get("map") ?? "-1",
  api: given.get("api") === "v1" ? "v1" : "v2",
});
