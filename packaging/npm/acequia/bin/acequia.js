#!/usr/bin/env node
// Starts the binary of this platform's package. Nothing is fetched when the package is installed.
"use strict";
const { spawnSync } = require("child_process");

const platform = `${process.platform}-${process.arch}`;
const file = process.platform === "win32" ? "acequia.exe" : "acequia";
let binary;
try {
  binary = require.resolve(`acequia-${platform}/bin/${file}`);
} catch {
  console.error(
    `error: there is no acequia for ${platform} here\n  fix: install the package acequia-${platform}, which npm leaves out with --omit=optional`,
  );
  process.exit(1);
}
// A signal from the keyboard reaches the binary by itself, and it ends by its own rules.
process.on("SIGINT", () => {});
const { status, signal, error } = spawnSync(binary, process.argv.slice(2), { stdio: "inherit" });
if (error) {
  console.error(`error: ${binary} cannot be started: ${error.message}`);
  process.exit(1);
}
process.exit(status ?? (signal ? 1 : 0));
