// What went wrong, as a sentence on the page.

import { ApiError } from "./api.js";
import { notice } from "./dom.js";

/** `failed(key, error)`: the newest error of each key in `notices`. What is no answer of the server is a fault of the page, and goes to the console too. */
export function failures(notices, prefix = "") {
  return (key, error) => {
    if (!(error instanceof ApiError)) console.error(error);
    notice(notices, prefix + key, "error", error.message);
  };
}
