export const greeting = "built by yarn";
