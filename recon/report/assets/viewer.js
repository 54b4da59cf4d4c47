// The 3D view: what is drawn. How it is moved stands in orbit.js.
const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** Point indices from their LEB128-coded differences. */
function indicesOf(text) {
  const raw = bytesOf(text), out = [];
  for (let i = 0, at = 0; i < raw.length; ) {
    let value = 0, scale = 1, byte;
    do { byte = raw[i++]; value += (byte & 127) * scale; scale *= 128; } while (byte & 128);
    at += value;
    out.push(at);
  }
  return out;
}

/** A camera with its frustum at depth 1. */
function unpackCamera(camera) {
  const r = camera.rotation, axes = [r.slice(0, 3), r.slice(3, 6), r.slice(6, 9)];
  const [left, top, right, bottom] = camera.rays;
  const corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    .map(([u, v]) => add(add(axes[2], axes[0], u), axes[1], v));
  return { photo: camera.photo, centre: camera.centre, axes, rays: camera.rays, corners, packedSeen: camera.seen };
}

/** Unpack one model: positions, colours and cameras with their frusta at depth 1. */
function unpack(packed) {
  const raw = bytesOf(packed.xyz), count = raw.length / 9, xyz = new Float32Array(count * 3);
  for (let i = 0, k = 0; i < xyz.length; i++, k += 3) {
    const axis = i % 3, steps = raw[k] | (raw[k + 1] << 8) | (raw[k + 2] << 16);
    xyz[i] = packed.low[axis] + (steps / 16777215) * packed.span[axis];
  }
  const cameras = packed.cameras.map(unpackCamera);
  return {
    count, xyz, cameras, rgb: bytesOf(packed.rgb), errors: bytesOf(packed.errors), lengths: bytesOf(packed.lengths),
    topLength: packed.topLength, cameraSize: packed.cameraSize, view: packed.view,
  };
}

class Viewer {
  /**
   * @param canvas the canvas
   * @param components packed models
   * @param thumbnail photo index -> URL of its thumbnail, or null
   * @param hooks {pick(photo|null), hover(photo|null, x, y), asleep()}: asleep, when the wheel turned before the view was touched
   */
  constructor(canvas, components, thumbnail, hooks) {
    Object.assign(this, { canvas, components, thumbnail, hooks, pointSize: 1, frustumScale: 1, colouring: "photo" });
    this.gl = canvas.getContext("webgl", { antialias: true, alpha: false, powerPreference: "high-performance" });
    if (!this.gl) throw new Error("WebGL is not available");
    this.models = components.map(() => null);
    this.showPhotos = true;
    this.selected = this.hovered = this.guest = null;
    this.setUp();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => { this.setUp(); this.show(this.component); });
    this.control = new Orbit(this);
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle());
    this.resize();
    this.restyle();
    this.show(0);
  }

  setUp() {
    const gl = this.gl;
    this.points = makeProgram(gl, POINT_VERTEX, POINT_FRAGMENT);
    this.lines = makeProgram(gl, LINE_VERTEX, LINE_FRAGMENT);
    this.quads = makeProgram(gl, QUAD_VERTEX, QUAD_FRAGMENT);
    this.buffers = {};
    this.strokes = {};
    this.textures = new Map();
    this.blank = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.blank);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array([255, 255, 255, 255]));
  }

  restyle() {
    const style = getComputedStyle(this.canvas);
    const colour = (name) => {
      const hex = style.getPropertyValue(name).trim().slice(1);
      return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
    };
    this.colours = { background: colour("--view"), camera: colour("--camera"), picked: colour("--picked"), grid: colour("--grid") };
    if (this.model) this.drawGrid();
    this.redrawFrusta();
  }

  resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2), { clientWidth: w, clientHeight: h } = this.canvas;
    this.ratio = ratio;
    this.canvas.width = Math.max(1, Math.round(w * ratio));
    this.canvas.height = Math.max(1, Math.round(h * ratio));
    if (this.model && !this.control.moved) this.reset(false); // the first view fits any shape of the window
    this.draw();
  }

  /** Show component number i, from its first view. */
  show(i) {
    this.component = i;
    this.model = this.models[i] ||= unpack(this.components[i]);
    this.buffers.xyz = fill(this.gl, this.buffers.xyz, this.model.xyz);
    this.baseSize = clamp(390 / Math.sqrt(this.model.count + 1), 1.8, 5);
    this.textures.clear();
    this.selected = this.hovered = null;
    this.drawGrid();
    this.recolour();
    this.redrawFrusta();
    this.reset(false);
  }

  reset(animate = true) {
    this.control.goTo(this.control.home(), animate);
    this.control.moved = false;
  }

  get cameraSize() { return this.model.cameraSize * this.frustumScale; }

  cameraOf(photo) { return this.model.cameras.find((camera) => camera.photo === photo) || null; }

  seenBy(camera) { return (camera.seen ||= indicesOf(camera.packedSeen)); }

  /** Highlight the photo's frustum and points; null for none. */
  select(photo) {
    this.selected = photo === null ? null : this.cameraOf(photo);
    this.recolour();
    this.redrawFrusta();
  }

  hover(photo) {
    const camera = photo === null ? null : this.cameraOf(photo);
    if (camera === this.hovered) return;
    this.hovered = camera;
    this.redrawMarked();
  }

  /** Show a camera that is not of the model, packed as its own are; null takes it away. */
  welcome(packed) {
    if (this.guest) this.model.cameras = this.model.cameras.filter((camera) => camera !== this.guest);
    this.textures.delete(this.guest);
    this.guest = packed && unpackCamera(packed);
    if (this.guest) this.model.cameras = [...this.model.cameras, this.guest];
    this.redrawFrusta();
  }

  set(name, value) {
    this[name] = value;
    if (name === "colouring") this.recolour();
    this.redrawFrusta();
  }

  recolour() {
    const { count, rgb, errors, lengths, topLength } = this.model, data = new Uint8Array(count * 4);
    for (let i = 0; i < count; i++) {
      let c;
      if (this.colouring === "error") c = ramp(errors[i] / 255);
      else if (this.colouring === "length") c = ramp(1 - (lengths[i] - 2) / Math.max(1, topLength - 2));
      else c = [rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]];
      data.set(c, 4 * i);
    }
    if (this.selected) for (const i of this.seenBy(this.selected)) data[4 * i + 3] = 255;
    this.buffers.rgba = fill(this.gl, this.buffers.rgba, data);
    this.draw();
  }

  redrawFrusta() {
    if (!this.model || !this.colours) return;
    const all = new Segments(), rgba = [...this.colours.camera, this.selected ? 0.35 : 0.9];
    for (const camera of this.model.cameras) this.outline(all, camera, rgba);
    this.stroke("all", all, 1.3);
    this.redrawMarked();
  }

  redrawMarked() {
    const marked = new Segments();
    for (const camera of new Set([this.selected, this.hovered, this.guest])) {
      if (camera) this.outline(marked, camera, [...this.colours.picked, 1]);
    }
    this.stroke("marked", marked, 2.6);
    this.draw();
  }

  /** A camera's pyramid, with a roof over its upper edge. */
  outline(list, camera, rgba) {
    const size = this.cameraSize, corner = this.corners(camera, size);
    for (let k = 0; k < 4; k++) {
      list.line(camera.centre, corner[k], rgba);
      list.line(corner[k], corner[(k + 1) % 4], rgba);
    }
    const edge = sub(corner[1], corner[0]), top = add(add(corner[0], edge, 0.5), camera.axes[1], -0.22 * size);
    list.line(add(corner[0], edge, 0.3), top, rgba);
    list.line(add(corner[0], edge, 0.7), top, rgba);
  }

  stroke(name, list, width) {
    const buffer = fill(this.gl, this.strokes[name]?.buffer, new Float32Array(list.data));
    this.strokes[name] = { buffer, count: list.data.length / 12, width };
  }

  corners(camera, size) { return camera.corners.map((corner) => add(camera.centre, corner, size)); }

  /** A quiet floor at the foot of the scene: it tells where up is while the view turns. */
  drawGrid() {
    const { model, colours } = this, near = [], list = new Segments();
    for (let i = 0; i < model.count; i++) {
      if (Math.hypot(model.xyz[3 * i], model.xyz[3 * i + 2]) < 1.5) near.push(model.xyz[3 * i + 1]);
    }
    near.sort((a, b) => a - b);
    const half = 12, step = 0.25, y = near.length ? near[Math.floor(near.length * 0.02)] : -1;
    for (let i = -half; i <= half; i++) {
      for (let j = -half; j < half; j++) {
        const alpha = 0.55 * Math.max(0, 1 - Math.hypot(i, j + 0.5) / half) ** 1.2, rgba = [...colours.grid, alpha];
        if (alpha < 0.02) continue;
        list.line([i * step, y, j * step], [i * step, y, (j + 1) * step], rgba);
        list.line([j * step, y, i * step], [(j + 1) * step, y, i * step], rgba);
      }
    }
    this.stroke("grid", list, 1);
  }

  textureOf(camera) {
    const known = this.textures.get(camera);
    if (known) return known === "loading" ? null : known;
    const url = this.thumbnail(camera.photo);
    if (!url) return null;
    this.textures.set(camera, "loading");
    const textures = this.textures, image = new Image();
    image.onload = () => {
      const gl = this.gl, square = document.createElement("canvas"), texture = gl.createTexture();
      // A power of two, so that WebGL 1 can make mipmaps.
      square.width = square.height = this.model.cameras.length > 60 ? 256 : 512;
      square.getContext("2d").drawImage(image, 0, 0, square.width, square.height);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, square);
      gl.generateMipmap(gl.TEXTURE_2D);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
      textures.set(camera, texture);
      this.draw();
    };
    image.src = url;
    return null;
  }

  /** Ask for a new picture at the next frame. */
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.paint(); });
  }

  paint() {
    const { gl, canvas, model, colours } = this;
    if (!model || !colours || gl.isContextLost()) return;
    const matrix = this.control.matrix();
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(...colours.background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    this.paintPoints(matrix);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthMask(false);
    this.paintLines(matrix, this.strokes.grid);
    gl.depthMask(true);
    this.paintPhotos(matrix);
    this.paintLines(matrix, this.strokes.all);
    this.paintLines(matrix, this.strokes.marked);
  }

  paintPoints(matrix) {
    const { gl, points, model, buffers } = this;
    gl.useProgram(points.program);
    gl.uniformMatrix4fv(points.matrix, false, matrix);
    gl.uniform1f(points.size, this.baseSize * this.pointSize * this.ratio);
    gl.uniform1f(points.reference, 2.8);
    // Dark stone on a dark page would be lost: lift the shadows there a little.
    gl.uniform1f(points.lift, this.colours.background[1] < 0.5 && this.colouring === "photo" ? 0.78 : 1);
    gl.uniform1f(points.fade, this.selected ? 1 : 0);
    gl.uniform3fv(points.background, this.colours.background);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers.xyz);
    pointAt(gl, points.position, 3, gl.FLOAT, 0, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers.rgba);
    pointAt(gl, points.colour, 4, gl.UNSIGNED_BYTE, 0, 0);
    gl.drawArrays(gl.POINTS, 0, model.count);
  }

  paintLines(matrix, stroke) {
    const { gl, lines } = this;
    if (!stroke.count) return;
    gl.useProgram(lines.program);
    gl.uniformMatrix4fv(lines.matrix, false, matrix);
    gl.uniform2f(lines.viewport, this.canvas.width, this.canvas.height);
    gl.uniform1f(lines.width, stroke.width * this.ratio);
    gl.uniform1f(lines.near, this.control.near);
    gl.bindBuffer(gl.ARRAY_BUFFER, stroke.buffer);
    pointAt(gl, lines.from, 3, gl.FLOAT, SEGMENT_STRIDE, 0);
    pointAt(gl, lines.to, 3, gl.FLOAT, SEGMENT_STRIDE, 12);
    pointAt(gl, lines.corner, 2, gl.FLOAT, SEGMENT_STRIDE, 24);
    pointAt(gl, lines.colour, 4, gl.FLOAT, SEGMENT_STRIDE, 32);
    gl.drawArrays(gl.TRIANGLES, 0, stroke.count);
  }

  /** Image planes: the photos themselves where shown, else a breath of colour. Far ones first, for the blending. */
  paintPhotos(matrix) {
    const { gl, quads } = this, many = this.model.cameras.length > 150, eye = this.control.frame().eye;
    gl.useProgram(quads.program);
    gl.uniformMatrix4fv(quads.matrix, false, matrix);
    gl.uniform1i(quads.photo, 0);
    const far = (camera) => Math.hypot(...sub(camera.centre, eye));
    for (const camera of [...this.model.cameras].sort((a, b) => far(b) - far(a))) {
      const marked = camera === this.selected || camera === this.hovered || camera === this.guest;
      if (many && !marked) continue;
      const texture = this.showPhotos || marked ? this.textureOf(camera) : null;
      const alpha = texture ? (this.control.through === camera ? 0.55 : this.selected && !marked ? 0.25 : 0.92) : 0.12;
      const [a, b, c, d] = this.corners(camera, this.cameraSize);
      this.buffers.quad = fill(gl, this.buffers.quad, new Float32Array(
        [...a, 0, 0, ...b, 1, 0, ...c, 1, 1, ...a, 0, 0, ...c, 1, 1, ...d, 0, 1]));
      pointAt(gl, quads.position, 3, gl.FLOAT, 20, 0);
      pointAt(gl, quads.corner, 2, gl.FLOAT, 20, 12);
      gl.bindTexture(gl.TEXTURE_2D, texture || this.blank);
      gl.uniform1f(quads.textured, texture ? 1 : 0);
      gl.uniform4f(quads.tint, ...(marked ? this.colours.picked : this.colours.camera), alpha);
      gl.depthMask(Boolean(texture) && alpha > 0.9);
      gl.drawArrays(gl.TRIANGLES, 0, 6);
    }
    gl.depthMask(true);
  }
}
