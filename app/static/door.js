// Logging in, and taking an invitation. The secret of an invitation stands behind the # of the address: a browser sends that
// to nobody. Knows no page beyond the one it leads to.

import { ApiError, post } from "./api.js";

const form = document.querySelector("form");
const button = form.querySelector("button");
const error = form.querySelector("[data-error]");
const password = form.elements.password;
const dark = matchMedia("(prefers-color-scheme: dark)");

const lookDark = () => document.body.classList.toggle("dark", dark.matches);
dark.addEventListener("change", lookDark);
lookDark();

form.querySelector("[data-show]").addEventListener("change", (event) => {
  password.type = event.target.checked ? "text" : "password";
});

/** Where the person was going: a page of ours, whatever the address says. */
function next(pages) {
  const asked = new URL(new URLSearchParams(location.search).get("next") ?? "/ui/", location.origin);
  const ours = asked.origin === location.origin && asked.pathname.startsWith("/ui");
  return ours && asked.pathname !== "/ui/" ? asked.href : pages[0];
}

function say(sentence) {
  error.textContent = sentence;
  error.hidden = sentence === "";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  say("");
  button.disabled = true;
  const sent = { name: form.elements.name.value, password: password.value };
  if (form.dataset.door === "join") sent.token = location.hash.slice(1);
  try {
    const me = await post(`/api/${form.dataset.door}`, sent);
    location.replace(next(me.pages));
  } catch (problem) {
    if (!(problem instanceof ApiError)) throw problem;
    button.disabled = false;
    say(problem.message);
    password.select();
    password.focus();
  }
});

// Until here nothing can be sent: the browser would send it by itself, and not as it is meant to be.
button.disabled = form.dataset.door === "join" && location.hash.length < 2;
if (button.disabled) say("This address has no invitation in it; open the whole link that you were sent.");
