// Small linear algebra and the WebGL programs of the 3D view: round points, lines of real width, textured quads.
const sub = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const add = (a, b, k = 1) => [a[0] + k * b[0], a[1] + k * b[1], a[2] + k * b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));

/** Axes and eye of an orbit state {target, azimuth, elevation, distance, roll}; y is up, the eye looks along -z. */
function orbitFrame(s) {
  const ce = Math.cos(s.elevation), se = Math.sin(s.elevation);
  const ca = Math.cos(s.azimuth), sa = Math.sin(s.azimuth);
  const z = [ce * sa, se, ce * ca], x = [ca, 0, -sa];
  const y = [z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]];
  const cr = Math.cos(s.roll), sr = Math.sin(s.roll);
  return {
    x: [0, 1, 2].map((i) => x[i] * cr + y[i] * sr),
    y: [0, 1, 2].map((i) => y[i] * cr - x[i] * sr),
    z,
    eye: add(s.target, z, s.distance),
  };
}

/** Column-major view-projection matrix of a frame. */
function viewProjection(frame, fov, aspect, near, far) {
  const { x, y, z, eye } = frame;
  const f = 1 / Math.tan(fov / 2), a = (far + near) / (near - far), b = (2 * far * near) / (near - far);
  const tx = -dot(x, eye), ty = -dot(y, eye), tz = -dot(z, eye);
  const g = f / aspect;
  return new Float32Array([
    g * x[0], f * y[0], a * z[0], -z[0], g * x[1], f * y[1], a * z[1], -z[1],
    g * x[2], f * y[2], a * z[2], -z[2], g * tx, f * ty, a * tz + b, -tz,
  ]);
}

const POINT_VERTEX = `
attribute vec3 position; attribute vec4 colour;
uniform mat4 matrix; uniform float size, reference, fade, lift; uniform vec3 background;
varying vec3 shade;
void main() {
  gl_Position = matrix * vec4(position, 1.0);
  float lit = step(0.5, colour.a);
  float scaled = size * pow(reference / max(gl_Position.w, 1e-4), 0.55);
  gl_PointSize = clamp(scaled * mix(1.0, mix(0.75, 1.15, lit), fade), 1.0, 48.0);
  shade = mix(pow(colour.rgb, vec3(lift)), background, fade * (1.0 - lit) * 0.84);
}`;
const POINT_FRAGMENT = `
precision mediump float; varying vec3 shade;
void main() {
  vec2 d = gl_PointCoord * 2.0 - 1.0;
  float r = dot(d, d);
  if (r > 1.0) discard;
  gl_FragColor = vec4(shade * (1.0 - 0.12 * r), 1.0);
}`;
const LINE_VERTEX = `
attribute vec3 from, to; attribute vec2 corner; attribute vec4 colour;
uniform mat4 matrix; uniform vec2 viewport; uniform float width, near;
varying vec4 shade; varying float across;
void main() {
  vec4 a = matrix * vec4(from, 1.0), b = matrix * vec4(to, 1.0);
  if (a.w < near) a = mix(a, b, (near - a.w) / max(b.w - a.w, 1e-6));
  else if (b.w < near) b = mix(b, a, (near - b.w) / max(a.w - b.w, 1e-6));
  vec2 along = (b.xy / b.w - a.xy / a.w) * viewport;
  vec2 normal = length(along) > 1e-6 ? normalize(vec2(-along.y, along.x)) : vec2(0.0);
  vec4 p = corner.x < 0.5 ? a : b;
  p.xy += normal * corner.y * (width + 1.0) / viewport * p.w;
  p.z -= 0.0002 * p.w;
  gl_Position = p; shade = colour; across = corner.y;
}`;
const LINE_FRAGMENT = `
precision mediump float; varying vec4 shade; varying float across; uniform highp float width;
void main() {
  float edge = clamp((1.0 - abs(across)) * (width + 1.0), 0.0, 1.0);
  gl_FragColor = vec4(shade.rgb, shade.a * edge);
}`;
const QUAD_VERTEX = `
attribute vec3 position; attribute vec2 corner; uniform mat4 matrix; varying vec2 uv;
void main() { gl_Position = matrix * vec4(position, 1.0); uv = corner; }`;
const QUAD_FRAGMENT = `
precision mediump float; varying vec2 uv; uniform sampler2D photo; uniform vec4 tint; uniform float textured;
void main() { gl_FragColor = vec4(mix(tint.rgb, texture2D(photo, uv).rgb, textured), tint.a); }`;

/** Compile a program and look up all its attributes and uniforms by name. */
function makeProgram(gl, vertex, fragment) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  const out = { program };
  for (let i = gl.getProgramParameter(program, gl.ACTIVE_ATTRIBUTES) - 1; i >= 0; i--) {
    const { name } = gl.getActiveAttrib(program, i);
    out[name] = gl.getAttribLocation(program, name);
  }
  for (let i = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) - 1; i >= 0; i--) {
    const { name } = gl.getActiveUniform(program, i);
    out[name] = gl.getUniformLocation(program, name);
  }
  return out;
}

/** Put data into a buffer, which is made if need be. */
function fill(gl, buffer, data) {
  const target = buffer || gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, target);
  gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
  return target;
}

/** Enable one attribute of the bound buffer. */
function pointAt(gl, location, count, type, stride, offset) {
  if (location === undefined || location < 0) return;
  gl.enableVertexAttribArray(location);
  gl.vertexAttribPointer(location, count, type, type === gl.UNSIGNED_BYTE, stride, offset);
}

/** Growing list of wide segments as the line program wants them: 6 vertices of 12 floats. */
class Segments {
  constructor() { this.data = []; }
  line(from, to, rgba) {
    for (const [end, side] of [[0, -1], [1, -1], [1, 1], [0, -1], [1, 1], [0, 1]]) {
      this.data.push(...from, ...to, end, side, ...rgba);
    }
  }
}
const SEGMENT_STRIDE = 48;

// The ramp of the "error" and "track length" colourings, dark to bright so that it also reads without hue.
const RAMP = [[58, 76, 192], [64, 150, 208], [84, 190, 150], [222, 200, 80], [240, 140, 50], [214, 48, 39]];
function ramp(t) {
  const at = clamp(t, 0, 1) * (RAMP.length - 1), i = Math.min(Math.floor(at), RAMP.length - 2);
  return RAMP[i].map((v, k) => Math.round(v + (RAMP[i + 1][k] - v) * (at - i)));
}
