// The page: one selection shared by the 3D view, the tables and the match graph; tooltips; sorting.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const urls = new Map();
  const thumbnail = (photo) => {
    if (!data.thumbnails[photo]) return null;
    if (!urls.has(photo)) {
      urls.set(photo, URL.createObjectURL(new Blob([bytesOf(data.thumbnails[photo])], { type: "image/jpeg" })));
    }
    return urls.get(photo);
  };

  // --- tooltips: text in data-tip, a photo in data-photo ------------------------------------------------------------
  const tip = $("#tip");
  function showTip(x, y, text, photo = null) {
    const url = photo === null ? null : thumbnail(photo);
    tip.replaceChildren();
    if (url) tip.append(Object.assign(new Image(), { src: url, alt: "" }));
    for (const line of text.split("\n")) tip.append(Object.assign(document.createElement("div"), { textContent: line }));
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${clamp(x + 14, 6, Math.max(6, innerWidth - width - 6))}px`;
    tip.style.top = `${y + 18 + height > innerHeight ? Math.max(6, y - height - 10) : y + 18}px`;
  }
  const hideTip = () => { tip.hidden = true; };
  document.addEventListener("pointermove", (event) => {
    const at = event.target.closest?.("[data-tip]");
    if (at) showTip(event.clientX, event.clientY, at.dataset.tip, at.dataset.photo ? Number(at.dataset.photo) : null);
    else if (!event.target.closest?.("canvas, .matrix")) hideTip();
  });
  document.addEventListener("scroll", hideTip, { passive: true });

  // --- the 3D view ----------------------------------------------------------------------------------------------------
  const stage = $("#stage"), canvas = $("#view"), card = $("#card");
  let viewer = null;
  if (canvas) {
    const asleep = $("#asleep");
    let timer = 0;
    const hooks = {
      pick: (photo) => select(photo, "view"),
      hover(photo, x, y) {
        canvas.style.cursor = photo === null ? "" : "pointer";
        viewer.hover(photo);
        if (photo === null) { hideTip(); return; }
        const box = canvas.getBoundingClientRect();
        showTip(box.left + x, box.top + y, data.photos[photo].name, photo);
      },
      asleep() {
        asleep.classList.add("on");
        clearTimeout(timer);
        timer = setTimeout(() => asleep.classList.remove("on"), 1400);
      },
    };
    try {
      viewer = new Viewer(canvas, data.components, thumbnail, hooks);
    } catch (error) {
      stage.classList.add("broken");
      $("#nogl").hidden = false;
      $("#nogl-why").textContent = error.message;
    }
  }
  if (viewer) {
    const set = (id, act) => $(id)?.addEventListener("input", (event) => act(event.target));
    set("#point-size", (input) => viewer.set("pointSize", 2 ** Number(input.value)));
    set("#camera-size", (input) => viewer.set("frustumScale", 2 ** Number(input.value)));
    set("#colouring", (input) => { viewer.set("colouring", input.value); legend(); });
    set("#show-photos", (input) => viewer.set("showPhotos", input.checked));
    set("#component", (input) => { showComponent(Number(input.value)); });
    $("#reset").addEventListener("click", () => { select(null); viewer.reset(); });
    $("#full").addEventListener("click", () => {
      if (document.fullscreenElement) document.exitFullscreen();
      else stage.requestFullscreen?.();
    });
    if (!stage.requestFullscreen) $("#full").hidden = true;
  }

  function legend() {
    const model = data.components[viewer.component], box = $("#legend"), kind = viewer.colouring;
    box.hidden = kind === "photo";
    if (kind === "photo") return;
    const stops = [0, 0.2, 0.4, 0.6, 0.8, 1].map((t) => `rgb(${ramp(kind === "error" ? t : 1 - t)})`);
    $(".bar", box).style.background = `linear-gradient(90deg, ${stops})`;
    const ends = kind === "error" ? ["0 px", `${model.topError.toFixed(1)} px`] : ["2 photos", `${model.topLength} photos`];
    $$("span", box).forEach((span, k) => { span.textContent = ends[k]; });
  }

  function showComponent(index) {
    select(null);
    viewer.show(index);
    legend();
    for (const node of $$("[data-component]")) node.hidden = Number(node.dataset.component) !== index;
    const chooser = $("#component");
    if (chooser) chooser.value = String(index);
  }

  // --- one selection ----------------------------------------------------------------------------------------------------
  let selected = null;
  function select(photo, source) {
    selected = photo === selected && source !== "view" ? null : photo;
    for (const node of $$(".picked")) node.classList.remove("picked");
    if (selected !== null) for (const node of $$(`[data-pick="${selected}"]`)) node.classList.add("picked");
    $("#graph")?.classList.toggle("focus", selected !== null);
    for (const edge of $$("#graph [data-ends]")) {
      edge.classList.toggle("lit", selected !== null && edge.dataset.ends.split(" ").includes(String(selected)));
    }
    if (!viewer) return;
    const row = selected === null ? null : data.photos[selected];
    if (row && !viewer.cameraOf(selected) && data.components[row.component]) {
      const keep = selected;
      showComponent(row.component);
      select(keep, "view");
      return;
    }
    viewer.select(selected);
    card.hidden = !row || !viewer.selected;
    if (!card.hidden) describe(row);
  }

  function describe(row) {
    const image = $("img", card), url = thumbnail(selected);
    image.hidden = !url;
    if (url) image.src = url;
    $("strong", card).textContent = row.name;
    $("p", card).textContent = row.facts;
  }
  $("#close")?.addEventListener("click", () => select(null));
  $("#through")?.addEventListener("click", () => { if (viewer.selected) viewer.control.lookThrough(viewer.selected); });

  for (const node of $$("[data-pick]")) {
    const photo = Number(node.dataset.pick);
    node.addEventListener("click", () => select(photo, "page"));
    node.addEventListener("pointerenter", () => viewer?.hover(photo));
    node.addEventListener("pointerleave", () => viewer?.hover(null));
    node.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); select(photo, "page"); }
    });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") select(null); });

  // --- tables -----------------------------------------------------------------------------------------------------------
  for (const image of $$("img[data-thumb]")) {
    const url = thumbnail(Number(image.dataset.thumb));
    if (url) image.src = url;
    else image.remove();
  }
  for (const table of $$("table.sortable")) {
    $$("th", table).forEach((head, column) => {
      $("button", head)?.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === (head.dataset.first || "descending");
        const order = (head.dataset.first === "ascending") !== down ? 1 : -1;
        $$("th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
        const body = table.tBodies[0], key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
        const compare = (a, b) => {
          const [u, v] = [key(a), key(b)], [x, y] = [Number(u), Number(v)];
          if (u === "" || v === "") return u === v ? 0 : u === "" ? 1 : -1; // rows without a value stay at the end
          return order * (Number.isNaN(x) || Number.isNaN(y) ? u.localeCompare(v, undefined, { numeric: true }) : x - y);
        };
        body.append(...[...body.rows].sort(compare));
      });
    });
  }
  const search = $("#search");
  search?.addEventListener("input", () => {
    const want = search.value.trim().toLowerCase();
    for (const row of $("#photos").tBodies[0].rows) row.hidden = !row.dataset.name.toLowerCase().includes(want);
  });

  // --- match matrix: the pair under the pointer ---------------------------------------------------------------------------
  const matrix = $(".matrix img");
  if (matrix) {
    const count = data.photos.length, links = new Map(data.links.map(([a, b, n, raw]) => [a * count + b, [n, raw]]));
    const pair = (event) => {
      const box = matrix.getBoundingClientRect();
      return [event.clientY - box.top, event.clientX - box.left]
        .map((v, k) => clamp(Math.floor((v / [box.height, box.width][k]) * count), 0, count - 1));
    };
    matrix.addEventListener("pointermove", (event) => {
      const [i, j] = pair(event), found = links.get(Math.min(i, j) * count + Math.max(i, j));
      const names = i === j ? data.photos[i].name : `${data.photos[i].name}  –  ${data.photos[j].name}`;
      const text = found ? `${found[0]} verified of ${found[1]} matches` : i === j ? "" : "no verified matches";
      showTip(event.clientX, event.clientY, text ? `${names}\n${text}` : names, i);
    });
    matrix.addEventListener("pointerleave", hideTip);
    matrix.addEventListener("click", (event) => select(pair(event)[0], "page"));
  }
})();
