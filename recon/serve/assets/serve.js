// The page of `recon serve`: a photo is sent as it is, its camera appears among those of the map.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const answer = $("answer"), drop = $("drop"), picture = $("query");
  let url = null, viewer = null, timer = 0, turn = 0;

  const hooks = {
    pick() {},
    hover(photo) { viewer.hover(photo); $("view").title = photo === null || photo < 0 ? "" : data.names[viewer.component][photo]; },
    asleep() {
      $("asleep").classList.add("on");
      clearTimeout(timer);
      timer = setTimeout(() => $("asleep").classList.remove("on"), 1400);
    },
  };
  try {
    viewer = new Viewer($("view"), data.components, (photo) => (photo < 0 ? url : null), hooks);
    $("reset").addEventListener("click", () => viewer.reset());
  } catch (error) {
    $("stage").classList.add("broken");
    $("nogl").hidden = false;
    $("nogl-why").textContent = error.message;
  }

  function tell(verdict, reason, facts = []) {
    answer.hidden = false;
    answer.dataset.verdict = verdict;
    $("verdict").textContent = verdict === "error" ? "That did not work" : verdict === "busy" ? "Looking …" : verdict;
    $("reason").textContent = reason;
    $("facts").replaceChildren(...facts.flatMap(([name, value]) => [
      Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: value }),
    ]));
  }

  const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 5, useGrouping: false });
  function factsOf({ pose, matched_with: photos, seconds }) {
    if (!pose) return [];
    const unit = pose.unit === "metres" ? " m" : "", rows = [];
    rows.push(["centre", `${pose.centre.map(number).join(", ")}${unit}` +
      (pose.sigma_centre === null ? "" : ` ± ${number(pose.sigma_centre)}${unit}`)]);
    if (pose.place) rows.push(["on earth", `${pose.place.latitude.toFixed(6)}°, ${pose.place.longitude.toFixed(6)}°`]);
    rows.push(["quaternion wxyz", pose.cam_from_world.quaternion_wxyz.map((v) => v.toFixed(4)).join(", ")]);
    rows.push(["intrinsics", `${pose.intrinsics.model} ${pose.intrinsics.params.map(number).join(", ")} (${pose.intrinsics.origin})`]);
    rows.push(["inliers", `${pose.inliers} of ${pose.correspondences}`]);
    rows.push(["like", photos.slice(0, 3).map((photo) => photo.name).join(", ")]);
    rows.push(["time", `${Object.values(seconds).reduce((a, b) => a + b, 0).toFixed(2)} s`]);
    return rows;
  }

  async function send(file) {
    const mine = ++turn;
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(file);
    picture.hidden = false;
    picture.src = url;
    if (viewer) viewer.welcome(null);
    tell("busy", file.name);
    try {
      const query = new URLSearchParams({ name: file.name, view: "true" });
      const headers = { "content-type": file.type || "application/octet-stream" };
      const reply = await fetch(`localize?${query}`, { method: "POST", body: file, headers });
      const found = await reply.json();
      if (mine !== turn) return; // another photo was dropped meanwhile
      if (!reply.ok) { tell("error", `${file.name}: ${found.error}. Try: ${found.try || "again"}.`); return; }
      tell(found.verdict, `${found.query}: ${found.reason}.` + (found.try ? ` Try: ${found.try}.` : ""), factsOf(found));
      if (viewer && found.view) {
        if (viewer.component !== found.view.component) viewer.show(found.view.component);
        viewer.welcome(found.view.camera);
      }
    } catch (error) {
      if (mine === turn) tell("error", `The service does not answer (${error.message}).`);
    }
  }

  picture.addEventListener("error", () => { picture.hidden = true; }); // what is no photo, or one that only recon reads
  $("file").addEventListener("change", (event) => { if (event.target.files[0]) send(event.target.files[0]); });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
    });
  }
  window.reconViewer = viewer;
})();
