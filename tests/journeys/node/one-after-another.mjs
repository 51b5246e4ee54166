// Runs the modules it is given, one after another, with a line of "=====" after each.
import { pathToFileURL } from "node:url";

for (const file of process.argv.slice(2)) {
  await import(pathToFileURL(file));
  process.stdout.write("\n=====\n");
}
