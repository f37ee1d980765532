// Requests to /api. A failure is always an ApiError whose message is a sentence for the person at the screen.
// Knows no page.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status; // 0: the server could not be reached
  }
}

/** The event that tells of a request which nobody was logged in for. */
export const LOGIN_NEEDED = "worldline-login-needed";

const UNREACHABLE = "The server does not answer. Is Worldline still running?";

async function request(method, path, body, { signal, raw = false, keepalive = false } = {}) {
  let response;
  let text;
  try {
    response = await fetch(path, {
      method,
      signal,
      keepalive,
      headers: body === undefined ? { accept: "application/json" } : { accept: "application/json", "content-type": "application/json" },
      body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
    });
    text = await response.text(); // a connection can break within an answer, too
  } catch (cause) {
    if (cause?.name === "AbortError") throw cause;
    throw new ApiError(UNREACHABLE, 0);
  }
  let json = null;
  try {
    json = text ? JSON.parse(text) : null;
  } catch {
    /* not JSON: said below */
  }
  if (response.status === 401) dispatchEvent(new Event(LOGIN_NEEDED));
  if (!response.ok) {
    throw new ApiError(sentence(json) ?? `The server answered ${response.status} to ${method} ${path.split("?")[0]}.`, response.status);
  }
  if (json === null && text) throw new ApiError(`The server's answer to ${method} ${path} is not JSON.`, response.status);
  return json;
}

function sentence(json) {
  if (typeof json?.error === "string") return json.error;
  if (typeof json?.detail === "string") return json.detail;
  if (Array.isArray(json?.detail)) return json.detail.map((d) => `${(d.loc ?? []).slice(1).join(".")}: ${d.msg}`).join("; ");
  return null;
}

export const get = (path, options) => request("GET", path, undefined, options);
export const post = (path, body = {}, options) => request("POST", path, body, options);
export const remove = (path, options) => request("DELETE", path, undefined, options);
export const patch = (path, body = {}, options) => request("PATCH", path, body, options);

/** Ask `load` again every `ms` while the page is visible; failures go to `failed` and do not end it. Returns stop(). */
export function poll(load, ms, failed = () => {}) {
  let timer = null;
  let stopped = false;
  const tick = async () => {
    if (stopped) return;
    if (!document.hidden) {
      try {
        await load();
      } catch (error) {
        failed(error);
      }
    }
    if (!stopped) timer = setTimeout(tick, ms);
  };
  tick();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
