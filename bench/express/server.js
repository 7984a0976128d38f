// A site proxy as it is usually made at home: Express with http-proxy in front of an S3 bucket.
const http = require("node:http");
const express = require("express");
const httpProxy = require("http-proxy");

const [port, target] = process.argv.slice(2);
const proxy = httpProxy.createProxyServer({ target, agent: new http.Agent({ keepAlive: true }), changeOrigin: true });
proxy.on("error", (error, request, response) => response.writeHead?.(502).end());

express()
  .disable("x-powered-by")
  .use((request, response) => {
    request.url = `/${request.hostname}${request.url}`;
    proxy.web(request, response);
  })
  .listen(Number(port), "127.0.0.1");
