// Validates documents of KEDA's kinds by its published schemas: keda.mjs FILE.json, a list of them. Lies beside the
// node_modules that has these.
import { readFileSync } from "node:fs";

for (const document of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const kinds = await import(`@kubernetes-models/keda/${document.apiVersion}`);
  new kinds[document.kind](document).validate();
}
