// For pages without modules: `<script src="tidings.global.js">` makes `Tidings` and `TidingsError` known everywhere.

import { Tidings, TidingsError } from "./index.js";

Object.assign(globalThis, { Tidings, TidingsError });
