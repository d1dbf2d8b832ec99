/** Access to the elements of the page. */

export function element(id) {
  return document.getElementById(id);
}
