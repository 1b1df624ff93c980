# The gateway as an image: node and dist/, nothing else. No shell, no npm, not root; the root file
# system may be read-only. Both bases are arguments: what builds and what runs.
#
#   docker build -t runcast .
#   docker run --read-only -p 8080:8080 runcast serve --upstream https://api.example.com
ARG NODE_IMAGE=docker.io/library/node:24-trixie-slim
ARG RUNTIME_IMAGE=gcr.io/distroless/nodejs24-debian13:nonroot

FROM ${NODE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json tsconfig.json ./
RUN npm ci --ignore-scripts
COPY src ./src
RUN npm run build

FROM ${RUNTIME_IMAGE}
WORKDIR /app
# Without its package.json Node would have to look at each file to know that it is a module.
COPY --from=build /build/package.json ./
COPY --from=build /build/dist ./dist
# Distroless has node where no PATH leads.
ENV PATH=/nodejs/bin:/usr/local/bin:/usr/bin:/bin NODE_ENV=production RUNCAST_HOST=0.0.0.0
# By number: Kubernetes cannot tell from a name that it is not root.
USER 65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["node", "dist/cli.js", "health"]
# Node is PID 1: it passes no signals on, and has none to pass; the program handles them itself.
ENTRYPOINT ["node", "dist/cli.js"]
CMD ["serve"]
