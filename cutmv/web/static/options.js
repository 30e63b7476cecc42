// What the form asks for, by the names of the API: each element with `data-option` is one field.

const READ = {
  many: (element) => checked(element).map((input) => input.value),
  one: (element) => checked(element)[0]?.value || null,
  words: (element) => element.querySelector("input").value.split(/[\s,]+/).filter(Boolean),
  flag: (element) => checked(element).length > 0,
  number: (element) => numbers(element)[0] ?? null,
  point: (element) => numbers(element),
};

export function checked(element) {
  return [...element.querySelectorAll("input:checked")];
}

/** The numbers that are given, in their order; those left empty are not among them. */
export function numbers(element) {
  const given = [...element.querySelectorAll("input")].map((input) => input.valueAsNumber);
  return given.filter((value) => !Number.isNaN(value));
}

/** Check those of an element's boxes that have one of the values. */
export function fill(element, values) {
  for (const box of element.querySelectorAll("input")) box.checked = values.includes(box.value);
}

/** What is wanted of each clip. What is left empty is left to the server. */
export function wanted(form) {
  const elements = [...form.querySelectorAll("[data-option]")];
  const read = elements.map((element) => [element.dataset.option, READ[element.dataset.form](element)]);
  return Object.fromEntries(read.filter(([, value]) => value !== null));
}
