// A link that logs in carries its code after the #, which is sent to nobody. Here it becomes the field of a form.
const code = location.hash.slice(1);
if (/^[\w-]{20,200}$/.test(code)) {
  history.replaceState(null, "", location.pathname + location.search);
  document.getElementById("code").value = code;
  document.getElementById("login").submit();
}
