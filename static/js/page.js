// Pages as the server has them now.

/** The document, null where it cannot be had. By XMLHttpRequest, which parses it itself: turning text into markup is forbidden here. */
export function fetchPage(path = location.href.split('#')[0]) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open('GET', path);
    request.responseType = 'document';
    request.timeout = 10_000;
    request.onloadend = () => resolve(request.status === 200 && request.responseURL === new URL(path, location.href).href ? request.response : null);
    request.send();
  });
}
