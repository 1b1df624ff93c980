/** The version, in the program itself: `dist/` alone is enough to run. Held to package.json. */

/** As in package.json; a test compares them. */
export const VERSION = '0.1.0';
