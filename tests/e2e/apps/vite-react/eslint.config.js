import js from "@eslint/js";
import hooks from "eslint-plugin-react-hooks";
import refresh from "eslint-plugin-react-refresh";
import globals from "globals";

export default [
  js.configs.recommended,
  hooks.configs.flat.recommended,
  refresh.configs.vite,
  { languageOptions: { globals: globals.browser, parserOptions: { ecmaFeatures: { jsx: true } } } },
];
