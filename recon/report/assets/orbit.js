// How the 3D view is moved: mouse, touch, wheel and keys; flights between views; what lies under the pointer.
const FOV = 0.75;

class Orbit {
  constructor(viewer) {
    this.viewer = viewer;
    this.state = { target: [0, 0, 0], azimuth: 0, elevation: 0.3, distance: 4, roll: 0, fov: FOV };
    this.pointers = new Map();
    this.moved = false; // by hand, or to a camera
    this.through = null; // the camera that the view looks through
    this.awake = false; // the wheel scrolls the page until the view has been touched
    const canvas = viewer.canvas, on = (name, act, options) => canvas.addEventListener(name, act, options);
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", (event) => this.pointers.delete(event.pointerId));
    on("pointerleave", () => { this.awake = false; if (!this.pointers.size) this.hover(null); });
    on("wheel", (event) => this.wheel(event), { passive: false });
    on("dblclick", (event) => this.centreOn(event));
    on("keydown", (event) => this.key(event));
    on("contextmenu", (event) => event.preventDefault());
  }

  frame() { return orbitFrame(this.state); }

  matrix() {
    const { state, viewer } = this, aspect = viewer.canvas.width / viewer.canvas.height;
    this.near = Math.min(0.02 * state.distance, 0.4 * viewer.cameraSize);
    return viewProjection(this.frame(), state.fov, aspect, this.near, state.distance + 80);
  }

  /** World position -> [x, y, depth] in CSS pixels of the canvas; depth <= 0 is behind the eye. */
  project(p, frame = this.frame()) {
    const { clientWidth: w, clientHeight: h } = this.viewer.canvas, d = sub(p, frame.eye);
    const depth = -dot(frame.z, d), f = h / 2 / Math.tan(this.state.fov / 2);
    return [w / 2 + (f * dot(frame.x, d)) / depth, h / 2 - (f * dot(frame.y, d)) / depth, depth];
  }

  /** The first view: all cameras and nearly all points in the picture, from behind the cameras. */
  home() {
    const { model, canvas } = this.viewer, { azimuth, elevation } = model.view, want = [];
    const step = Math.max(1, Math.floor(model.count / 1500));
    for (let i = 0; i < model.count; i += step) {
      const p = [model.xyz[3 * i], model.xyz[3 * i + 1], model.xyz[3 * i + 2]];
      if (Math.hypot(...p) < 1.15) want.push(p);
    }
    // A camera far beyond the others would make all else small.
    const far = model.cameras.map((camera) => Math.hypot(...camera.centre)).sort((a, b) => a - b);
    const reach = Math.max(6, 1.5 * far[far.length >> 1]);
    for (const camera of model.cameras) if (Math.hypot(...camera.centre) < reach) want.push(camera.centre);
    if (!want.length) want.push([0, 0, 0]);
    const state = { target: [0, 0, 0], azimuth, elevation, distance: 3, roll: 0, fov: FOV };
    const tall = Math.tan(FOV / 2) * 0.9, wide = (tall * canvas.width) / canvas.height;
    for (let round = 0; round < 6; round++) {
      // Centre what is seen, then step back until the outermost fits: a few rounds settle.
      const frame = orbitFrame(state), local = want.map((p) => {
        const d = sub(p, state.target);
        return [dot(frame.x, d), dot(frame.y, d), dot(frame.z, d)];
      });
      state.distance = Math.max(...local.map(([x, y, z]) => z + Math.max(Math.abs(x) / wide, Math.abs(y) / tall)), 0.3);
      const side = (k) => {
        const seen = local.map((p) => p[k] / (state.distance - p[2]));
        return ((Math.min(...seen) + Math.max(...seen)) / 2) * state.distance * 0.8;
      };
      state.target = add(add(state.target, frame.x, side(0)), frame.y, side(1));
    }
    return state;
  }

  /** The view of a camera's own photo. */
  viewOf(camera) {
    const [right, down, ahead] = camera.axes, { canvas } = this.viewer, [left, top, rightRay, bottom] = camera.rays;
    const state = { elevation: Math.asin(clamp(-ahead[1], -1, 1)), azimuth: Math.atan2(-ahead[0], -ahead[2]), roll: 0 };
    const level = orbitFrame({ ...state, target: [0, 0, 0], distance: 1 });
    state.roll = Math.atan2(dot(right, level.y), dot(right, level.x));
    const depths = [];
    for (const i of this.viewer.seenBy(camera)) {
      depths.push(dot(ahead, sub(this.viewer.model.xyz.subarray(3 * i, 3 * i + 3), camera.centre)));
    }
    depths.sort((a, b) => a - b);
    state.distance = Math.max(depths[depths.length >> 1] || 1, 0.05);
    state.target = add(camera.centre, ahead, state.distance);
    const tall = Math.max(-top, bottom), wide = Math.max(-left, rightRay);
    state.fov = 2 * Math.atan(Math.max(tall, (wide * canvas.height) / canvas.width) * 1.06);
    return state;
  }

  lookThrough(camera) {
    this.goTo(this.viewOf(camera), true);
    this.through = camera;
  }

  /** Fly to a state. The shorter way round, and at once for people who asked for less motion. */
  goTo(goal, animate = true) {
    const from = { ...this.state }, turn = 2 * Math.PI;
    this.moved = true;
    this.through = null;
    from.azimuth += Math.round((goal.azimuth - from.azimuth) / turn) * turn;
    cancelAnimationFrame(this.flight);
    if (!animate || matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.state = { ...goal };
      this.viewer.draw();
      return;
    }
    const start = performance.now(), tick = (now) => {
      const t = clamp((now - start) / 650, 0, 1), e = t * t * (3 - 2 * t);
      const mixed = (a, b) => a + (b - a) * e;
      for (const name of ["azimuth", "elevation", "roll", "fov"]) this.state[name] = mixed(from[name], goal[name]);
      this.state.distance = Math.exp(mixed(Math.log(from.distance), Math.log(goal.distance)));
      this.state.target = from.target.map((v, k) => mixed(v, goal.target[k]));
      this.viewer.draw();
      if (t < 1) this.flight = requestAnimationFrame(tick);
    };
    this.flight = requestAnimationFrame(tick);
  }

  /** A movement by hand ends a flight and levels a rolled view. */
  take() {
    this.moved = true;
    cancelAnimationFrame(this.flight);
    if (this.through) {
      this.through = null;
      this.state.roll = 0;
    }
  }

  turn(dx, dy) {
    this.take();
    this.state.azimuth -= dx * 0.006;
    this.state.elevation = clamp(this.state.elevation + dy * 0.006, -1.55, 1.55);
    this.viewer.draw();
  }

  pan(dx, dy) {
    this.take();
    const frame = this.frame();
    const scale = (2 * this.state.distance * Math.tan(this.state.fov / 2)) / this.viewer.canvas.clientHeight;
    this.state.target = add(add(this.state.target, frame.x, -dx * scale), frame.y, dy * scale);
    this.viewer.draw();
  }

  /** Zoom by a factor, keeping what lies under (x, y) where it is. */
  zoom(factor, x, y) {
    this.take();
    const { clientWidth: w, clientHeight: h } = this.viewer.canvas, before = this.state.distance;
    this.state.distance = clamp(before * factor, 0.02, 60);
    const gain = 1 - this.state.distance / before, f = h / 2 / Math.tan(this.state.fov / 2), frame = this.frame();
    this.state.target = add(this.state.target, frame.x, (((x - w / 2) * before) / f) * gain);
    this.state.target = add(this.state.target, frame.y, (((h / 2 - y) * before) / f) * gain);
    this.viewer.draw();
  }

  down(event) {
    this.awake = true;
    this.viewer.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.travel = this.pointers.size > 1 ? 99 : 0;
  }

  move(event) {
    const last = this.pointers.get(event.pointerId), { offsetX: x, offsetY: y } = event;
    if (!last) { this.hover(this.pick(x, y), x, y); return; }
    const dx = x - last.x, dy = y - last.y;
    this.travel += Math.abs(dx) + Math.abs(dy);
    if (this.pointers.size === 2) this.pinch(event.pointerId, last, { x, y });
    else if (this.travel > 4) {
      this.hover(null);
      if (event.buttons > 1 || event.shiftKey || event.ctrlKey) this.pan(dx, dy);
      else this.turn(dx, dy);
    }
    Object.assign(last, { x, y });
  }

  pinch(id, before, after) {
    const other = [...this.pointers].find(([key]) => key !== id)[1];
    const gap = (p) => Math.max(1, Math.hypot(p.x - other.x, p.y - other.y));
    this.pan((after.x - before.x) / 2, (after.y - before.y) / 2);
    this.zoom(gap(before) / gap(after), (after.x + other.x) / 2, (after.y + other.y) / 2);
  }

  up(event) {
    const known = this.pointers.delete(event.pointerId);
    if (known && this.travel <= 4 && event.button === 0) this.viewer.hooks.pick(this.pick(event.offsetX, event.offsetY));
  }

  wheel(event) {
    if (!this.awake && !event.ctrlKey) { this.viewer.hooks.asleep(); return; }
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoom(Math.exp(clamp(event.deltaY * lines, -160, 160) * 0.0016), event.offsetX, event.offsetY);
  }

  key(event) {
    const { clientWidth: w, clientHeight: h } = this.viewer.canvas;
    const acts = {
      ArrowLeft: () => this.turn(-20, 0), ArrowRight: () => this.turn(20, 0),
      ArrowUp: () => this.turn(0, -20), ArrowDown: () => this.turn(0, 20),
      "+": () => this.zoom(0.85, w / 2, h / 2), "=": () => this.zoom(0.85, w / 2, h / 2),
      "-": () => this.zoom(1 / 0.85, w / 2, h / 2),
      0: () => this.viewer.reset(), Escape: () => this.viewer.hooks.pick(null),
    };
    if (!acts[event.key] || event.altKey || event.metaKey) return;
    event.preventDefault();
    acts[event.key]();
  }

  hover(photo, x, y) { this.viewer.hooks.hover(photo, x, y); }

  /** Photo whose frustum lies under (x, y), the nearest first; null if none does. */
  pick(x, y) {
    const frame = this.frame();
    let best = null, nearest = Infinity;
    for (const camera of this.viewer.model.cameras) {
      const apex = this.project(camera.centre, frame);
      const quad = this.viewer.corners(camera, this.viewer.cameraSize).map((p) => this.project(p, frame));
      if (apex[2] <= this.near || quad.some((p) => p[2] <= this.near)) continue;
      const inside = insidePolygon(quad, x, y) || quad.some((p, k) => insidePolygon([apex, p, quad[(k + 1) % 4]], x, y));
      const close = Math.hypot(apex[0] - x, apex[1] - y) < 9;
      if ((inside || close) && apex[2] < nearest) [best, nearest] = [camera.photo, apex[2]];
    }
    return best;
  }

  /** Make the point under the pointer the centre of the orbit. */
  centreOn(event) {
    const frame = this.frame(), { xyz, count } = this.viewer.model;
    let best = null, score = 14;
    for (let i = 0; i < count; i++) {
      const p = xyz.subarray(3 * i, 3 * i + 3), [x, y, depth] = this.project(p, frame);
      const off = Math.hypot(x - event.offsetX, y - event.offsetY);
      if (depth > this.near && off + depth < score) [best, score] = [[...p], off + depth];
    }
    if (best) this.goTo({ ...this.state, target: best, distance: Math.max(0.3, this.state.distance * 0.6), fov: FOV, roll: 0 });
  }
}

function insidePolygon(points, x, y) {
  let inside = false;
  for (let i = 0, j = points.length - 1; i < points.length; j = i++) {
    const [xi, yi] = points[i], [xj, yj] = points[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}
