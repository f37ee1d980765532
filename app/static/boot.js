// Starts the page's own module once Gradio has put the page's mount point on screen. The only module Gradio knows of.

import { arrived } from "./account.js";

const PAGES = { solve: "./solve.js", rate: "./rate.js", compare: "./compare.js", queues: "./queues.js", quality: "./quality.js", data: "./data.js", train: "./train.js", evaluate: "./evaluate.js", accounts: "./accounts.js" };
const started = new WeakSet();

/** A page measures itself as it starts (a list has no height, and cannot be scrolled, before its sheet is in force). Gradio adds
 *  the sheets by script, and for those a browser holds back neither scripts nor painting. */
function sheets() {
  const pending = [...document.querySelectorAll('link[rel=stylesheet][href^="/static/"]')].filter((link) => link.sheet === null);
  return Promise.all(pending.map((link) => new Promise((done) => {
    link.addEventListener("load", done);
    link.addEventListener("error", done); // a page without its looks still works
  })));
}

async function start() {
  const host = document.querySelector("[data-wl-page]");
  if (!host || started.has(host)) return;
  started.add(host);
  host.dataset.wlReady = "loading";
  try {
    const [page] = await Promise.all([import(PAGES[host.dataset.wlPage]), sheets(), arrived()]);
    await page.mount(host);
    host.dataset.wlReady = "yes";
  } catch (error) {
    console.error(error);
    host.dataset.wlReady = "failed";
    const message = document.createElement("p");
    message.className = "wl-notice error";
    message.textContent = `This page could not start: ${error.message}. Reload it; if that does not help, restart Worldline.`;
    host.prepend(message);
  }
}

new MutationObserver(start).observe(document.documentElement, { childList: true, subtree: true });
start();
