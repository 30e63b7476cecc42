// The elements of the page.

/** An element, by its id: which it is, the template says. @type {(id: string) => any} */
export const $ = (id) => document.getElementById(id);
