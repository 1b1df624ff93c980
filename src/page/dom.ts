/** Elements, made and changed. Whatever upstream says goes through `textContent`, never as HTML. */

/** An element with its class and its children; a string is text. */
export function el<Name extends keyof HTMLElementTagNameMap>(
  name: Name, className = '', ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  if (className !== '') made.className = className;
  made.append(...children.map((child) => typeof child === 'string' ? unturned(child) : child));
  return made;
}

/** With attributes. */
export function attributes<T extends Element>(
  element: T, values: Readonly<Record<string, string>>,
): T {
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  return element;
}

/** Touches the page only where something changed: what is the same must not move or be read out. */
export function setText(element: Element, text: string): void {
  const plain = unturned(text);
  if (element.textContent !== plain) element.textContent = plain;
}

/** What turns text round would do so beyond its own end. */
function unturned(text: string): string {
  return text.replace(/[\u202a-\u202e\u2066-\u2069]/g, '');
}

/** The same for an attribute. */
export function setAttribute(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** What the page was served with. */
export function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`The page has no #${id}`);
  return found;
}
