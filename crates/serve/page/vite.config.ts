// Builds the page into one file, dist/index.html, with its script and its style inline: the server sends nothing else.

import { defineConfig, type Plugin } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";

const server = process.env.HEADWISE_URL ?? "http://127.0.0.1:8080";
const proxied = ["/v1", "/props", "/health", "/metrics", "/openapi.json"];

/** Leaves exactly `<script type="module">` and `<style>`: the server hashes what stands between these for its content security policy. */
function plainTags(): Plugin {
  return {
    name: "plain-tags",
    enforce: "post",
    generateBundle: {
      // After the plugin that puts them in.
      order: "post",
      handler(_, bundle) {
        for (const file of Object.values(bundle)) {
          if (file.type !== "asset" || !file.fileName.endsWith(".html")) continue;
          const html = String(file.source).replace(/<script [^>]*>/g, '<script type="module">').replace(/<style [^>]*>/g, "<style>");
          for (const tag of ["<script", "<style"]) {
            if (html.split(tag).length !== 2) this.error(`the page has to have exactly one ${tag}>`);
          }
          file.source = html.replace(/^\s+(?=<(script|style)\b)/gm, "");
        }
      },
    },
  };
}

export default defineConfig({
  plugins: [viteSingleFile({ removeViteModuleLoader: true }), plainTags()],
  build: { target: "es2022", modulePreload: false },
  server: { proxy: Object.fromEntries(proxied.map((path) => [path, server])) },
});
